/** What the tests of a file share: the cluster, a directory of images and a web server that hands them out. */
import { join } from 'node:path'
import { after, before } from 'node:test'
import type { NginxOptions } from '../../fixtures/nginx.ts'
import { tempDir } from '../../fixtures/server-process.ts'
import { openCluster } from './cluster.ts'
import type { TestCluster } from './cluster.ts'
import { makeImages } from './images.ts'
import type { DiskImages } from './images.ts'
import { startWeb } from './web.ts'
import type { WebServer } from './web.ts'

export interface Stage {
  readonly cluster: TestCluster
  readonly images: DiskImages
  /** Where the images lie. */
  readonly directory: string
  readonly web: WebServer
  /** Another web server over the same images, gone at the end of the file. */
  readonly serve: (options: Omit<NginxOptions, 'root'>) => Promise<WebServer>
  /** Disposes of a thing at the end of the file. */
  readonly keep: <T extends AsyncDisposable>(thing: T) => T
}

/** Sets the stage before the first test of the file, clears it after the last one. */
export function useStage(): () => Stage
/** The same with things of the file's own, made by `prepare` when the stage is set. */
export function useStage<Own extends object>(prepare: (stage: Stage) => Promise<Own>): () => Stage & Own
export function useStage(prepare: (stage: Stage) => Promise<object> = async () => ({})): () => Stage {
  const things = new AsyncDisposableStack()
  let stage: Stage | undefined
  before(async () => {
    const cluster = things.use(await openCluster())
    const directory = join(things.use(await tempDir('e2e')).path, 'www')
    const images = await makeImages({ directory })
    const serve = async (options: Omit<NginxOptions, 'root'>): Promise<WebServer> =>
      things.use(await startWeb(cluster, { ...options, root: directory }))
    const keep = <T extends AsyncDisposable>(thing: T): T => things.use(thing)
    const common = { cluster, images, directory, serve, keep, web: await serve({}) }
    // One hook for everything: hooks of a file start side by side, they do not wait for each other.
    stage = { ...common, ...(await prepare(common)) }
  })
  after(() => things.disposeAsync())
  return () => {
    if (!stage) throw new Error('the stage is set by the first test')
    return stage
  }
}
