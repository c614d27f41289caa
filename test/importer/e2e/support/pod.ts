/** The importer's container without Kubernetes: what the controller renders in, disk and last words out. */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { renderPodEnv } from '../../../../src/api/podenv.ts'
import type { WorkerEnv, WorkerEnvExtras } from '../../../../src/api/podenv.ts'
import { mebibyte } from '../../../fixtures/images.ts'
import { freePort, tempDir } from '../../../fixtures/server-process.ts'
import type { TempDir } from '../../../fixtures/server-process.ts'
import { emptyWorkerEnv } from '../../../fixtures/worker-env.ts'
import { startCdi } from './cdi.ts'
import type { CdiResult, RunningCdi } from './cdi.ts'

const program = join(import.meta.dirname, 'worker.ts')

/** What a controller says of an http import into a claim of 8 MiB. */
const defaults: WorkerEnv = {
  ...emptyWorkerEnv,
  imageSize: String(8 * mebibyte),
  ownerUid: '1b2c',
  filesystemOverhead: '0',
}

export interface Ended extends CdiResult {
  /** What the controller reads of the terminated container. */
  readonly words: string
}

/** An importer pod: its volumes are directories here; what is in them survives from container to container. */
export class Pod implements AsyncDisposable {
  readonly #place: TempDir
  readonly metricsPort: number

  private constructor(place: TempDir, metricsPort: number) {
    this.#place = place
    this.metricsPort = metricsPort
  }

  static async start({ scratch = false }: { scratch?: boolean } = {}): Promise<Pod> {
    const pod = new Pod(await tempDir('pod'), await freePort())
    for (const name of ['data', 'dev', ...(scratch ? ['scratch'] : [])]) await mkdir(pod.path(name))
    await writeFile(pod.path('dev/termination-log'), '')
    return pod
  }

  path(name: string): string {
    return join(this.#place.path, name)
  }

  get disk(): string {
    return this.path('data/disk.img')
  }

  /** Starts the container, with the environment that the controller would have rendered. */
  run(
    env: Partial<WorkerEnv>,
    extras: WorkerEnvExtras = {},
    secrets: Readonly<Record<string, string>> = {},
  ): RunningCdi {
    const rendered = renderPodEnv({ ...defaults, ...env }, extras).flatMap(({ name, value }) =>
      value === undefined ? [] : [[name, value] as const],
    )
    return startCdi([this.#place.path, String(this.metricsPort), '-v=3'], {
      program,
      env: { ...Object.fromEntries(rendered), ...secrets },
    })
  }

  async ended(...args: Parameters<Pod['run']>): Promise<Ended> {
    return this.wordsOf(this.run(...args))
  }

  async wordsOf(running: RunningCdi): Promise<Ended> {
    const result = await running.finished
    return { ...result, words: await readFile(this.path('dev/termination-log'), 'utf8') }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#place[Symbol.asyncDispose]()
  }
}
