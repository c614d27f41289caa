/**
 * One test's stage: a namespace of its own, in which the strictest pod security standard is enforced, with everything in
 * it written down. The namespace is deleted at the end; a failed test tells what was seen.
 */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { it } from 'node:test'
import { kinds } from '../../../src/api/kinds.ts'
import type { DataVolume, PersistentVolume, PersistentVolumeClaim, Pod } from '../../../src/api/kinds.ts'
import type { Kind, KubeObject, NewObject } from '../../../src/kube/object.ts'
import { waitFor } from '../../cluster/wait-for.ts'
import type { DataVolumeBuilder } from '../../fixtures/data-volume.ts'
import type { TestCluster } from './cluster.ts'
import { diskScript, parseDisk, resultOf, volumePod } from './content.ts'
import type { DiskContent } from './content.ts'
import { Recording } from './recording.ts'

/** What pods that do the service's work are labelled with. */
const workers = ['importer', 'cdi-upload-server', 'cdi-clone-source', 'cdi-populator-prep']

/** Long enough for a busy machine on which others kill the controller; nothing is asserted about time. */
const patienceMs = 240_000

const serviceAccount: Kind = {
  group: '',
  version: 'v1',
  plural: 'serviceaccounts',
  kind: 'ServiceAccount',
  namespaced: true,
}

export class Scene implements AsyncDisposable {
  readonly cluster: TestCluster
  readonly namespace: string
  readonly seen: Recording
  readonly #volumes: string[] = []
  readonly #others: Scene[] = []
  #pods = 0

  constructor(cluster: TestCluster, namespace: string) {
    this.cluster = cluster
    this.namespace = namespace
    this.seen = new Recording(cluster.kube, namespace)
  }

  static async open(cluster: TestCluster): Promise<Scene> {
    const name = `e2e-${randomBytes(5).toString('hex')}`
    await cluster.kube.create(kinds.namespace, {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name, labels: { 'pod-security.kubernetes.io/enforce': 'restricted', 'cdi-e2e': '' } },
    })
    // Pods are refused as long as the account is not there that they run as.
    await waitFor({ what: `the service account of ${name}`, timeoutMs: patienceMs }, () =>
      cluster.kube.get(serviceAccount, { namespace: name, name: 'default' }),
    )
    const scene = new Scene(cluster, name)
    await scene.seen.start()
    return scene
  }

  /** Another namespace beside this one, with all that a scene has; it is shown when the test fails, and goes with this one. */
  async another(): Promise<Scene> {
    const other = await Scene.open(this.cluster)
    this.#others.push(other)
    return other
  }

  /** This one and those beside it. */
  get all(): readonly Scene[] {
    return [this, ...this.#others]
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const other of this.#others) await other[Symbol.asyncDispose]()
    await this.seen[Symbol.asyncDispose]()
    await this.cluster.kube.delete(kinds.namespace, { name: this.namespace })
    for (const name of this.#volumes) await this.cluster.kube.delete(kinds.pv, { name })
  }

  /** Creates an object in the namespace. */
  async create<T extends KubeObject>(kind: Kind<T>, object: NewObject<T>): Promise<T> {
    return this.cluster.kube.create(kind, { ...object, metadata: { ...object.metadata, namespace: this.namespace } })
  }

  /** Creates a PersistentVolume that is deleted with the scene. */
  async createVolume(object: NewObject<PersistentVolume>): Promise<PersistentVolume> {
    const volume = await this.cluster.kube.create(kinds.pv, object)
    this.#volumes.push(volume.metadata.name)
    return volume
  }

  async apply(builder: DataVolumeBuilder): Promise<DataVolume> {
    const { metadata, ...rest } = builder.manifest()
    return this.create(kinds.dataVolume, { ...rest, metadata })
  }

  async secret(name: string, data: Record<string, string>): Promise<void> {
    await this.create(kinds.secret, { apiVersion: 'v1', kind: 'Secret', metadata: { name }, stringData: data })
  }

  async configMap(name: string, data: Record<string, string>): Promise<void> {
    await this.create(kinds.configMap, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data })
  }

  async annotate(kind: Kind, name: string, annotations: Record<string, string | null>): Promise<void> {
    const key = { namespace: this.namespace, name }
    await this.cluster.kube.patch(kind, key, { metadata: { annotations } }, { type: 'merge' })
  }

  dataVolume(name: string): DataVolume | undefined {
    return this.seen.dataVolumes.cache.get({ namespace: this.namespace, name })
  }

  pvc(name: string): PersistentVolumeClaim | undefined {
    return this.seen.pvcs.cache.get({ namespace: this.namespace, name })
  }

  pod(name: string): Pod | undefined {
    return this.seen.pods.cache.get({ namespace: this.namespace, name })
  }

  /** Asks after each change in the namespace until the answer is neither undefined nor false. */
  async until<T>(what: string, question: () => T | undefined | false): Promise<T> {
    return this.seen.until(what, patienceMs, question)
  }

  /** Waits for a phase. When the DataVolume fails for good instead, the wait ends at once. */
  async reaches(name: string, phase: string): Promise<DataVolume> {
    const reached = await this.#showsPhase(name, phase)
    await this.#catchUp()
    return reached
  }

  #showsPhase(name: string, phase: string): Promise<DataVolume> {
    return this.until(`${name} to be ${phase}`, () => {
      const found = this.dataVolume(name)
      if (found?.status?.phase === phase) return found
      if (found?.status?.phase === 'Failed') throw new Error(`${name} failed instead of becoming ${phase}`)
      return undefined
    })
  }

  /** Each kind is watched by itself: waits until claims and pods are seen as they are by now. */
  async #catchUp(): Promise<void> {
    const { kube } = this.cluster
    const { namespace } = this
    const [claims, pods] = await Promise.all([kube.list(kinds.pvc, { namespace }), kube.list(kinds.pod, { namespace })])
    await this.until('the watches to catch up', () => {
      const { seen } = this
      return (
        claims.items.every((claim) => seen.pvcs.hasSeen(claim)) && pods.items.every((pod) => seen.pods.hasSeen(pod))
      )
    })
  }

  /** Waits until the DataVolume is Succeeded and its claim has its volume. */
  async succeeds(name: string): Promise<DataVolume> {
    await this.#showsPhase(name, 'Succeeded')
    await this.until(`claim ${name} to be bound`, () => this.pvc(name)?.status?.phase === 'Bound')
    const done = await this.until(`${name} to be bound`, () => {
      const found = this.dataVolume(name)
      return isTrue(found, 'Bound') && isTrue(found, 'Ready') ? found : undefined
    })
    await this.#catchUp()
    return done
  }

  /** Names of the scratch claims that were seen, also of those that lived for a moment only. */
  scratchClaims(): string[] {
    return [...this.seen.pvcs.sightings.values()]
      .map(({ last }) => last.metadata.name)
      .filter((name) => name.endsWith('-scratch'))
  }

  /** Waits for a condition in the words of `Moment`: `Running=False Error: …` that matches. */
  async shows(name: string, pattern: RegExp): Promise<void> {
    await this.until(`${name} to show ${pattern}`, () =>
      this.seen.course(name).some(({ conditions }) => conditions.some((condition) => pattern.test(condition))),
    )
  }

  /** Waits for an event about an object, `Kind/name`, that is or matches `Type Reason: message`. */
  async tells(object: string, event: string | RegExp): Promise<void> {
    const [kind = '', name = ''] = object.split('/')
    await this.until(`the event ${event} of ${object}`, () =>
      this.seen.eventsOf(kind, name).some((told) => (typeof event === 'string' ? told === event : event.test(told))),
    )
  }

  /** Starts a pod that uses the volume of a claim; with `readOnly` it cannot write to it. */
  async use(
    pvcName: string,
    script: string | ((pvc: PersistentVolumeClaim) => string),
    { readOnly = false }: { readonly readOnly?: boolean } = {},
  ): Promise<string> {
    const pvc = await this.until(`claim ${pvcName}`, () => this.pvc(pvcName))
    const name = `uses-${(this.#pods += 1)}`
    await this.create(
      kinds.pod,
      volumePod(this.cluster, { name, pvc, readOnly, script: typeof script === 'string' ? script : script(pvc) }),
    )
    return name
  }

  /** Waits for the end of a pod of {@link use}; gives what it wrote. */
  async resultOf(podName: string): Promise<string> {
    return this.until(`the end of pod ${podName}`, () => {
      const pod = this.pod(podName)
      return pod && resultOf(pod)
    })
  }

  /** Runs a script with the volume of a claim; gives what it wrote to /dev/termination-log. */
  async read(pvcName: string, script: string | ((pvc: PersistentVolumeClaim) => string)): Promise<string> {
    const name = await this.use(pvcName, script)
    const result = await this.resultOf(name)
    await this.cluster.kube.delete(kinds.pod, { namespace: this.namespace, name })
    return result
  }

  /** What was seen, and what the workers that are still there have to say. */
  async report(): Promise<string> {
    const there = this.seen.pods.cache
      .list()
      .filter(({ metadata }) => workers.includes(metadata.labels?.['cdi.kubevirt.io'] ?? ''))
    const logs = await Promise.all(
      there.map(async ({ metadata: { namespace, name } }) => {
        const path = `/api/v1/namespaces/${namespace}/pods/${name}/log?tailLines=40`
        const { body } = await this.cluster.kube.raw('GET', path)
        return `Log of ${name}:\n${typeof body === 'string' ? body : JSON.stringify(body)}`
      }),
    )
    const beside = await Promise.all(this.#others.map((other) => other.report()))
    return [`Seen in ${this.namespace}:`, this.seen.report(), ...logs, ...beside].join('\n')
  }

  /** The disk in the volume of a claim, of which `bytes` bytes came from the source. */
  async disk(pvcName: string, bytes: number): Promise<DiskContent> {
    return parseDisk(await this.read(pvcName, (pvc) => diskScript(pvc, bytes)))
  }
}

/** Nothing but images that are laid out at random and arrive once needs a scratch volume (docs/design/0006). */
function assertNoScratch(scene: Scene): void {
  assert.deepEqual(scene.scratchClaims(), [], 'a scratch claim was made')
  for (const name of scene.seen.dataVolumes.names()) {
    const asked = scene.seen
      .course(name)
      .flatMap(({ conditions }) => conditions.filter((text) => /Scratch space required/.test(text)))
    assert.deepEqual(asked, [], `${name} asked for scratch`)
  }
}

function isTrue(found: DataVolume | undefined, type: string): boolean {
  return found?.status?.conditions?.some((condition) => condition.type === type && condition.status === 'True') ?? false
}

export interface ScenarioOptions {
  /** The body sees to it that scratch was used, or does not care; all other tests fail if it was, be it for a moment. */
  readonly mayUseScratch?: boolean
}

/** A test on a stage of its own. */
export function scenario(
  title: string,
  cluster: () => TestCluster,
  body: (scene: Scene) => Promise<void>,
  { mayUseScratch = false }: ScenarioOptions = {},
): void {
  it(title, { timeout: 4 * patienceMs }, async () => {
    await using scene = await Scene.open(cluster())
    try {
      await body(scene)
      if (!mayUseScratch) scene.all.forEach(assertNoScratch)
    } catch (error) {
      throw new Error(`${error instanceof Error ? error.message : String(error)}\n${await scene.report()}`, {
        cause: error,
      })
    }
  })
}
