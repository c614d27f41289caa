/** What to tell people of an error of the network, which may be several (one per address that was tried). */
export function causeText(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) {
    return [...new Set(error.errors.map((one) => causeText(one)))].join('; ')
  }
  if (!(error instanceof Error)) return String(error)
  return error.message || ('code' in error ? String(error.code) : error.name)
}
