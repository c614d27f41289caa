/** The flags of the programs in pods: those of klog, as the existing installation passes them. */

/** The verbosity of `-v=N`, `-v N`, `--v=N`; 1 unless told. All other flags are accepted and mean nothing. */
export function parseVerbosity(args: readonly string[]): number {
  const at = args.findIndex((arg) => /^--?v(=|$)/.test(arg))
  if (at === -1) return 1
  const text = args[at]?.includes('=') ? args[at].split('=')[1] : args[at + 1]
  const verbosity = Number(text)
  return text !== undefined && text !== '' && Number.isInteger(verbosity) && verbosity >= 0 ? verbosity : 1
}
