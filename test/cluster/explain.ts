import { ExecaError } from 'execa'

/** Runs a command's work; a failure is told in a few lines on standard error, without stack traces, and exit code 1. */
export async function explain(work: () => Promise<unknown>): Promise<void> {
  try {
    await work()
  } catch (error) {
    for (let cause: unknown = error, depth = 0; cause instanceof Error; cause = cause.cause, depth += 1) {
      const message = cause instanceof ExecaError ? cause.shortMessage : cause.message
      process.stderr.write(`${depth === 0 ? 'error: ' : '  because: '}${message}\n`)
      if (cause instanceof ExecaError) {
        const lines = typeof cause.stderr === 'string' ? (cause.stderr as string).split('\n').slice(-15) : []
        for (const line of lines) process.stderr.write(`    ${line}\n`)
        break
      }
    }
    process.exitCode = 1
  }
}
