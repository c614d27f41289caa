/** Writes docs/errors.md from the error registry: `node src/errors-doc.ts`. */
import { writeFile } from 'node:fs/promises'
import { errorTable, exitCodes } from './errors.ts'
import type { ErrorFacts } from './errors.ts'

const kinds = {
  transient: 'may heal: tried again',
  terminal: 'does not heal by itself',
  needsScratch: 'started again with scratch space',
} as const

/** The page as text; a test compares it with the file. */
export function errorsPage(): string {
  const rows = Object.entries<ErrorFacts>(errorTable).map(
    ([code, facts]) =>
      `### ${code}\n${facts.summary}\n\n- **What to do:** ${facts.remedy}\n- **Kind:** ${facts.kind} (${kinds[facts.kind]}); the command line exits with ${exitCodes[facts.exit]}.\n`,
  )
  return `# Errors
<!-- Generated from src/errors.ts by \`npm run generate\`; do not edit. -->
Every fault that can be met has a code. It stands in the worker's log (\`code\`), in \`cdi import --json\` and at the
beginning of the command line's message; conditions and events of a DataVolume carry the message itself. A worker pod
exits with 1 and is started again by the kubelet, except that a wrong checksum and a wish for scratch space end it for
good. A fault that does not heal is remembered: the restarted worker looks at the source, finds it unchanged, and repeats
the message instead of downloading again.

| exit code of \`cdi import\` | meaning |
|---|---|
| 0 | complete, verified, on stable storage |
${Object.entries(exitCodes)
  .map(([name, code]) => `| ${code} | ${name} |`)
  .join('\n')}
| 130, 143 | stopped by SIGINT, SIGTERM |

${rows.join('\n')}`
}

if (import.meta.main) {
  await writeFile(new URL('../docs/errors.md', import.meta.url), errorsPage())
}
