/** The real virtctl, as people have it: unmodified, a process of its own, against the proxy's address. */
import { execa } from 'execa'
import { kubeconfigPath } from '../../cluster/layout.ts'
import { goProgram } from '../../fixtures/go-programs.ts'
import type { UploadProxy } from './proxy.ts'
import type { Scene } from './scene.ts'

export interface RealVirtctlOutcome {
  readonly exitCode: number
  /** Lines of both streams in their order; without the progress bar. */
  readonly lines: readonly string[]
}

/** Its path: `CDI_VIRTCTL`, else built by Go; undefined where that cannot be done, after saying why. */
export async function findVirtctl(): Promise<string | undefined> {
  const given = process.env['CDI_VIRTCTL']
  if (given !== undefined && given !== '') return given
  try {
    return await goProgram('virtctl')
  } catch (error) {
    const [why = ''] = (error instanceof Error ? error.message : String(error)).split('\n')
    console.log(`virtctl cannot be built here (set CDI_VIRTCTL to one that is there): ${why}`)
    return undefined
  }
}

/** `virtctl image-upload ARGS` in the namespace of the scene. */
export async function uploadWith(
  path: string,
  { scene, proxy }: { readonly scene: Scene; readonly proxy: UploadProxy },
  args: readonly string[],
): Promise<RealVirtctlOutcome> {
  // The certificate bears the name of the Service, which this machine does not resolve.
  const address = ['--insecure', `--uploadproxy-url=${proxy.url('')}`]
  const { exitCode = -1, all } = await execa(
    path,
    ['image-upload', ...args, `--namespace=${scene.namespace}`, ...address],
    { env: { KUBECONFIG: process.env['KUBECONFIG'] ?? kubeconfigPath() }, reject: false, all: true, timeout: 240_000 },
  )
  const lines = all.split(/[\r\n]+/).filter((line) => line.trim() !== '' && !line.includes(' p/s '))
  return { exitCode, lines }
}
