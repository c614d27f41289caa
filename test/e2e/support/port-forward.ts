/** `kubectl port-forward`, as people reach Services of a cluster that they are not in. */
import { join } from 'node:path'
import { execa } from 'execa'
import { kubeconfigPath } from '../../cluster/layout.ts'
import { kubectlDir } from '../../cluster/programs.ts'

export interface PortForward extends AsyncDisposable {
  /** Port of 127.0.0.1. */
  readonly port: number
}

export interface PortForwardOptions {
  readonly namespace: string
  /** `svc/NAME` or `pod/NAME`. */
  readonly target: string
  readonly port: number
}

/** Resolves when it listens; rejects with what kubectl says if it does not. */
export async function portForward({ namespace, target, port }: PortForwardOptions): Promise<PortForward> {
  const kubeconfig = process.env['KUBECONFIG'] ?? kubeconfigPath()
  const child = execa(
    join(await kubectlDir(), 'kubectl'),
    [`--kubeconfig=${kubeconfig}`, '-n', namespace, 'port-forward', '--address=127.0.0.1', target, `:${port}`],
    { reject: false, stdin: 'ignore' },
  )
  const listening = new Promise<number>((resolve) => {
    let said = ''
    child.stdout.on('data', (chunk: Buffer) => {
      said += chunk.toString()
      const local = /^Forwarding from 127\.0\.0\.1:(\d+)/m.exec(said)?.[1]
      if (local !== undefined) resolve(Number(local))
    })
  })
  const ended = child.then(({ stderr }) => {
    throw new Error(`kubectl port-forward ${target} ended: ${stderr}`)
  })
  ended.catch(() => {})
  return {
    port: await Promise.race([listening, ended]),
    async [Symbol.asyncDispose]() {
      child.kill()
      await child
    },
  }
}
