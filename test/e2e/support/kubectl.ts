/** kubectl against the cluster under test, for what people do with it: apply, impersonate, read errors. */
import { ExecaError } from 'execa'
import { kubectlIn } from '../../cluster/kubectl.ts'
import { kubeconfigPath } from '../../cluster/layout.ts'
import { kubectlDir } from '../../cluster/programs.ts'

export interface KubectlOutcome {
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs kubectl; a failure is an outcome. */
export async function kubectl(args: readonly string[], input?: string | object): Promise<KubectlOutcome> {
  const command = kubectlIn(await kubectlDir(), process.env['KUBECONFIG'] ?? kubeconfigPath())
  try {
    const text = typeof input === 'object' ? JSON.stringify(input) : input
    return { exitCode: 0, stdout: await command.run(args, text), stderr: '' }
  } catch (error) {
    if (!(error instanceof ExecaError)) throw error
    return { exitCode: error.exitCode ?? -1, stdout: String(error.stdout), stderr: String(error.stderr) }
  }
}
