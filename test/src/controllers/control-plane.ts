/** The controllers of this repository against a real API server that holds our CRDs, one class and its CSI driver. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parse } from 'yaml'
import { kinds } from '../../../src/api/kinds.ts'
import type { CDIConfig, CustomResourceDefinition, DataVolume } from '../../../src/api/kinds.ts'
import { CertificateManager } from '../../../src/certs/manager.ts'
import { runControllers } from '../../../src/controllers/run.ts'
import type { ContractLog } from '../../../src/controllers/shared/contract-log.ts'
import { systemClock } from '../../../src/kube/clock.ts'
import type { ConnectedClient } from '../../../src/kube/client.ts'
import type { NewObject } from '../../../src/kube/object.ts'
import { silentLog } from '../../../src/log.ts'
import type { Log } from '../../../src/log.ts'
import { createRegistry } from '../../../src/metrics.ts'
import { startApiServer } from '../../fixtures/apiserver.ts'
import { mortal } from './crashing-client.ts'
import type { Death } from './crashing-client.ts'
import { csiDriver, storageClass } from './fixtures.ts'

const crdsDir = join(import.meta.dirname, '../../../crds')

/** One controller process. */
export interface ControllerProcess extends AsyncDisposable {
  readonly client: ReturnType<typeof mortal>
  end(): Promise<void>
}

interface Key {
  readonly namespace: string
  readonly name: string
}

export interface ControlPlane extends AsyncDisposable {
  readonly client: ConnectedClient
  startProcess(death?: Death, contractLog?: ContractLog, log?: Log): ControllerProcess
  newNamespace(): Promise<string>
  /** A DataVolume `dv` in a namespace of its own: http, 64Mi on the class `csi`, unless told. */
  newDataVolume(facts?: { annotated?: Record<string, string>; spec?: Partial<DataVolume['spec']> }): Promise<Key>
  untilPhase(key: Key, phase: string): Promise<DataVolume>
}

const patienceMs = 90_000

/** Asks until the answer is yes; an error counts as no until the end. */
export async function eventually(what: string, isSo: () => Promise<boolean>): Promise<void> {
  let last: unknown
  for (const endMs = performance.now() + patienceMs; performance.now() < endMs;) {
    try {
      if (await isSo()) return
      last = undefined
    } catch (error) {
      last = error
    }
    await delay(50)
  }
  throw new Error(`it never came about: ${what}`, { cause: last })
}

export async function startControlPlane(): Promise<ControlPlane> {
  const api = await startApiServer()
  const client = api.client()
  let serial = 0
  const makeNamespace = async (name: string): Promise<string> => {
    await client.create(kinds.namespace, { apiVersion: 'v1', kind: 'Namespace', metadata: { name } })
    return name
  }
  const newNamespace = (): Promise<string> => makeNamespace(`t${serial++}`)

  await createCrds(client)
  await makeNamespace('cdi')
  // So that no process under test is the one that makes them.
  const certificates = new CertificateManager({ client, namespace: 'cdi', log: silentLog(), clock: systemClock })
  await certificates.run({ cdi: undefined, installer: {} })
  const config: NewObject<CDIConfig> = {
    apiVersion: 'cdi.kubevirt.io/v1beta1',
    kind: 'CDIConfig',
    metadata: { name: 'config' },
    spec: { featureGates: ['HonorWaitForFirstConsumer'] },
    status: { filesystemOverhead: { global: '0.06' } },
  }
  await eventually('CDIConfig can be made', async () => {
    await client.create(kinds.cdiConfig, config)
    return true
  })
  await client.create(kinds.storageClass, withoutIdentity(storageClass()))
  await client.create(kinds.csiDriver, withoutIdentity(csiDriver()))

  return {
    client,
    newNamespace,
    startProcess(death, contractLog = () => undefined, log = silentLog()) {
      const stop = new AbortController()
      const own = mortal(api.client(), death)
      const work = runControllers({
        client: own,
        log,
        metrics: createRegistry(),
        namespace: 'cdi',
        host: 'test',
        settings: { image: 'importer:1', pullPolicy: 'IfNotPresent', verbosity: 1, installer: {} },
        contractLog,
        signal: stop.signal,
      })
      // Whoever lost the lead to another process ends by itself; only who asks is told.
      work.catch(() => undefined)
      const end = async (): Promise<void> => {
        stop.abort(new Error('the test is over'))
        await work
      }
      return { client: own, end, [Symbol.asyncDispose]: end }
    },
    async newDataVolume({ annotated = {}, spec = {} } = {}) {
      const namespace = await newNamespace()
      await client.create(kinds.dataVolume, {
        apiVersion: 'cdi.kubevirt.io/v1beta1',
        kind: 'DataVolume',
        metadata: { name: 'dv', namespace, annotations: annotated },
        spec: {
          source: { http: { url: 'http://images.example/disk.qcow2' } },
          storage: {
            accessModes: ['ReadWriteOnce'],
            volumeMode: 'Filesystem',
            storageClassName: 'csi',
            resources: { requests: { storage: '64Mi' } },
          },
          ...spec,
        },
      })
      return { namespace, name: 'dv' }
    },
    async untilPhase(key, phase) {
      let last: DataVolume | undefined
      try {
        await eventually(`phase ${phase}`, async () => {
          last = await client.get(kinds.dataVolume, key)
          return last?.status?.phase === phase
        })
      } catch (error) {
        throw new Error(`status: ${JSON.stringify(last?.status)}`, { cause: error })
      }
      return last as DataVolume
    },
    [Symbol.asyncDispose]: () => api[Symbol.asyncDispose](),
  }
}

export async function createCrds(client: ConnectedClient): Promise<void> {
  for (const file of await readdir(crdsDir)) {
    if (!file.endsWith('.yaml')) continue
    const crd = parse(await readFile(join(crdsDir, file), 'utf8')) as NewObject<CustomResourceDefinition>
    await client.create(kinds.customResourceDefinition, crd)
  }
  await eventually('the CRDs are served', async () => {
    const { items } = await client.list(kinds.customResourceDefinition)
    const served = items.filter(({ status }) =>
      status?.conditions?.some(({ type, status: value }) => type === 'Established' && value === 'True'),
    )
    return served.length === items.length
  })
}

function withoutIdentity<T extends { metadata: { name: string; uid: string; resourceVersion: string } }>(object: T): T {
  return { ...object, metadata: { name: object.metadata.name } }
}
