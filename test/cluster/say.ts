/** Progress for whoever started the command: one line a step, on standard error, with the seconds since the start. */
const startedMs = performance.now()

export function say(text: string): void {
  process.stderr.write(`[${((performance.now() - startedMs) / 1000).toFixed(1).padStart(5)} s] ${text}\n`)
}
