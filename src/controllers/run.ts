/** The controllers of this process, put together. `bin/controller.ts` knows the environment, this does not. */
import { randomUUID } from 'node:crypto'
import type { Registry } from 'prom-client'
import { systemClock } from '../kube/clock.ts'
import type { KubeClient } from '../kube/client.ts'
import { runController } from '../kube/controller.ts'
import { EventRecorder } from '../kube/events.ts'
import { runAsLeader } from '../kube/leader.ts'
import type { Log } from '../log.ts'
import { tlsProfileOf } from '../tls-profile.ts'
import type { TlsProfile } from '../tls-profile.ts'
import { certificatesController } from './certificates/controller.ts'
import { clonePopulatorController } from './clone/controller.ts'
import { copyController } from './clone/copy-controller.ts'
import { cloneOrphansController } from './clone/orphans.ts'
import { cloneTokens } from './clone/tokens.ts'
import { configController } from './config/controller.ts'
import { dataSourceController } from './datasource/controller.ts'
import { dataVolumeController } from './datavolume/controller.ts'
import { showPending } from './datavolume/pending-metric.ts'
import { importController } from './import/controller.ts'
import { objectTransferController } from './objecttransfer/controller.ts'
import { importPopulation } from './populators/import.ts'
import { populatorController } from './populators/populator.ts'
import { uploadPopulation } from './populators/upload.ts'
import { createCaches } from './shared/caches.ts'
import type { ContractLog } from './shared/contract-log.ts'
import { OwnWrites } from './shared/own-writes.ts'
import { pageFetcher, ProgressReader } from './shared/progress.ts'
import { configOf } from './shared/settings.ts'
import type { WorkerSettings } from './shared/worker-pod.ts'
import { storageProfileController } from './storageprofile/controller.ts'
import { uploadController } from './upload/controller.ts'
import { ownIdentity, uploadAuthorities } from './upload/identity.ts'
import { ResumptionReader, serverAsker } from './upload/resumption.ts'

export interface ControllersOptions {
  readonly client: KubeClient
  readonly log: Log
  readonly metrics: Registry
  /** Namespace of the installation. */
  readonly namespace: string
  /** Name of this process among those that want to lead, e.g. its pod's. */
  readonly host: string
  readonly settings: WorkerSettings
  readonly contractLog: ContractLog
  /** Told the TLS profile of the cluster each time that its configuration changes. */
  readonly onTlsProfile?: (profile: TlsProfile) => void
  readonly signal: AbortSignal
}

/** The name that the existing service uses, so that an old and a new controller never act at the same time. */
const leaseName = 'cdi-controller-leader-election-helper'

/**
 * Fills the caches, waits for the leadership, runs the controllers until the signal. Rejects with a LeadershipLostError
 * when somebody else may lead; the process must end then.
 */
export async function runControllers(options: ControllersOptions): Promise<void> {
  const { client, log, metrics, namespace, host, settings, contractLog, onTlsProfile, signal } = options
  const clock = systemClock
  const caches = createCaches({ client, log, metrics, cdiNamespace: namespace })
  showPending(metrics, caches.dataVolumes)
  if (onTlsProfile) caches.cdiConfigs.onChange(() => onTlsProfile(tlsProfileOf(configOf(caches))))
  const filled = caches.start(signal)
  await runAsLeader({
    client,
    lease: { namespace, name: leaseName },
    identity: `${host}_${randomUUID()}`,
    log,
    metrics,
    signal,
    lead: async (leading) => {
      const recorderOf = (component: string): EventRecorder =>
        new EventRecorder({ client, component, log, host, metrics })
      await using dataVolumeImportEvents = recorderOf('datavolume-import-controller')
      await using dataVolumeUploadEvents = recorderOf('datavolume-upload-controller')
      await using dataVolumePvcCloneEvents = recorderOf('datavolume-pvc-clone-controller')
      await using dataVolumeSnapshotCloneEvents = recorderOf('datavolume-snapshot-clone-controller')
      await using importPopulatorEvents = recorderOf('import-populator')
      await using uploadPopulatorEvents = recorderOf('upload-populator')
      await using clonePopulatorEvents = recorderOf('clone-populator')
      await using importEvents = recorderOf('import-controller')
      await using uploadEvents = recorderOf('upload-controller')
      await using copyEvents = recorderOf('clone-controller')
      const pages = pageFetcher()
      const servers = serverAsker(
        ownIdentity({ authorities: () => uploadAuthorities(caches, namespace), now: () => clock.now() }),
      )
      const newProgressReader = (): ProgressReader => new ProgressReader({ fetchPage: pages.fetchPage, clock, log })
      const shared = { client, caches, log, clock, ownWrites: new OwnWrites() }
      const { installer } = settings
      const workers = { settings, cdiNamespace: namespace, contractLog }
      const tokens = cloneTokens({ caches, cdiNamespace: namespace, clock })
      const certificates = certificatesController({ ...shared, installer, cdiNamespace: namespace })
      const registrations = certificates.start(leading)
      const specs = [
        certificates.spec,
        configController({ ...shared, installer, cdiNamespace: namespace }),
        storageProfileController({ ...shared, metrics, installer }),
        dataSourceController(shared),
        objectTransferController(shared),
        dataVolumeController({
          ...shared,
          recorders: {
            import: dataVolumeImportEvents,
            upload: dataVolumeUploadEvents,
            'pvc-clone': dataVolumePvcCloneEvents,
            'snapshot-clone': dataVolumeSnapshotCloneEvents,
          },
          claimRecorder: importEvents,
          progress: newProgressReader(),
          installer,
          settings,
          tokens,
        }),
        populatorController({
          ...shared,
          population: importPopulation(caches),
          recorder: importPopulatorEvents,
          progress: newProgressReader(),
          installer,
        }),
        populatorController({
          ...shared,
          population: uploadPopulation(caches),
          recorder: uploadPopulatorEvents,
          progress: newProgressReader(),
          installer,
        }),
        clonePopulatorController({
          ...shared,
          settings,
          tokens,
          recorder: clonePopulatorEvents,
          progress: newProgressReader(),
        }),
        cloneOrphansController(shared),
        importController({ ...shared, ...workers, recorder: importEvents }),
        uploadController({
          ...shared,
          ...workers,
          recorder: uploadEvents,
          resumptions: new ResumptionReader({ ask: servers.ask, clock, log }),
        }),
        copyController({ ...shared, ...workers, tokens, recorder: copyEvents }),
      ]
      await Promise.all(specs.map((spec) => runController(spec, { log, metrics, clock, signal: leading })))
      await registrations
      servers.close()
      await pages.close()
    },
  })
  await filled
}
