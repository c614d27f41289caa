#!/usr/bin/env node
/** One executable for every role: `cdi ROLE …`. Each role is loaded only when it is asked for. */

const roles: Readonly<Record<string, () => Promise<(args: readonly string[]) => Promise<void>>>> = {
  controller: async () => (await import('./controller.ts')).main,
  apiserver: async () => (await import('./apiserver.ts')).main,
  uploadproxy: async () => (await import('../../uploadproxy/main.ts')).main,
  importer: async () => (await import('../../importer/main.ts')).main,
  uploadserver: async () => (await import('../../importer/upload/main.ts')).main,
  cloner: async () => (await import('../../importer/cloner/main.ts')).main,
  'size-detection': async () => (await import('../../importer/size-detection/main.ts')).main,
  import: async () => (await import('../../importer/cli/import.ts')).main,
  inspect: async () => (await import('../../importer/cli/inspect.ts')).main,
  upload: async () => (await import('../cli/upload.ts')).main,
}

const usage = `usage: cdi import SOURCE TARGET [options]   copy or convert a disk image to a raw disk
       cdi inspect SOURCE [options]         show format, virtual size and how it would be imported
       cdi upload FILE --dv NAME [options]  upload a disk image into a volume of a cluster
       cdi controller | apiserver | uploadproxy | uploadserver | importer | cloner | size-detection
                                            run as a part of the service (in a pod)

SOURCE is an http(s) URL, a file or - for standard input. 'cdi import --help' and 'cdi upload --help' list the options.
`

const [role = '', ...args] = process.argv.slice(2)
const load = Object.hasOwn(roles, role) ? roles[role] : undefined
if (load) {
  const main = await load()
  await main(args)
} else if (role === '--help' || role === 'help') {
  process.stdout.write(usage)
} else {
  process.stderr.write(role === '' ? usage : `cdi: no such command: ${role}\n${usage}`)
  process.exitCode = 2
}
