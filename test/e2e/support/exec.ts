/** A command in a running container, by kubectl. */
import { kubectlIn } from '../../cluster/kubectl.ts'
import { kubeconfigPath } from '../../cluster/layout.ts'
import { kubectlDir } from '../../cluster/programs.ts'

export interface ExecOptions {
  readonly namespace: string
  readonly pod: string
  readonly container: string
  readonly command: readonly string[]
}

/** Standard output of the command; rejects unless it exits 0. */
export async function execIn({ namespace, pod, container, command }: ExecOptions): Promise<string> {
  const kubectl = kubectlIn(await kubectlDir(), process.env['KUBECONFIG'] ?? kubeconfigPath())
  return kubectl.run(['-n', namespace, 'exec', pod, '-c', container, '--', ...command])
}
