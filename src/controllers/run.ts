/** The controllers of this process, put together. `bin/controller.ts` knows the environment, this does not. */
import { randomUUID } from 'node:crypto'
import type { Registry } from 'prom-client'
import { systemClock } from '../kube/clock.ts'
import type { KubeClient } from '../kube/client.ts'
import { runController } from '../kube/controller.ts'
import { EventRecorder } from '../kube/events.ts'
import { runAsLeader } from '../kube/leader.ts'
import type { Log } from '../log.ts'
import { configController } from './config/controller.ts'
import { dataVolumeController } from './datavolume/controller.ts'
import { importController } from './import/controller.ts'
import type { WorkerSettings } from './import/pod.ts'
import { importPopulation } from './populators/import.ts'
import { populatorController } from './populators/populator.ts'
import { createCaches } from './shared/caches.ts'
import type { ContractLog } from './shared/contract-log.ts'
import { OwnWrites } from './shared/own-writes.ts'
import { pageFetcher, ProgressReader } from './shared/progress.ts'
import { storageProfileController } from './storageprofile/controller.ts'

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
  readonly signal: AbortSignal
}

/** The name that the existing service uses, so that an old and a new controller never act at the same time. */
const leaseName = 'cdi-controller-leader-election-helper'

/**
 * Fills the caches, waits for the leadership, runs the controllers until the signal. Rejects with a LeadershipLostError
 * when somebody else may lead; the process must end then.
 */
export async function runControllers(options: ControllersOptions): Promise<void> {
  const { client, log, metrics, namespace, host, settings, contractLog, signal } = options
  const clock = systemClock
  const caches = createCaches({ client, log, metrics })
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
      await using dataVolumeEvents = recorderOf('datavolume-import-controller')
      await using populatorEvents = recorderOf('import-populator')
      await using importEvents = recorderOf('import-controller')
      const { fetchPage, close } = pageFetcher()
      const shared = { client, caches, log, clock, ownWrites: new OwnWrites() }
      const { installer } = settings
      const specs = [
        configController({ ...shared, installer }),
        storageProfileController({ ...shared, metrics, installer }),
        dataVolumeController({
          ...shared,
          recorder: dataVolumeEvents,
          claimRecorder: importEvents,
          progress: new ProgressReader({ fetchPage, clock, log }),
          installer,
        }),
        populatorController({
          ...shared,
          population: importPopulation(caches),
          recorder: populatorEvents,
          progress: new ProgressReader({ fetchPage, clock, log }),
          installer,
        }),
        importController({ ...shared, recorder: importEvents, settings, cdiNamespace: namespace, contractLog }),
      ]
      await Promise.all(specs.map((spec) => runController(spec, { log, metrics, clock, signal: leading })))
      await close()
    },
  })
  await filled
}
