/** The node's image registry: docker-registry on the host's end of the veth pair, with plain http. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { request } from 'undici'
import { hostAddress, registryPort } from './layout.ts'
import { startProgram } from './processes.ts'
import { waitFor } from './wait-for.ts'

export const registryAddress = `${hostAddress}:${registryPort}`

export async function startRegistry({
  state,
  logDir,
}: {
  readonly state: string
  readonly logDir: string
}): Promise<void> {
  const data = join(state, 'registry')
  await mkdir(data, { recursive: true })
  const config = join(state, 'registry.json')
  await writeFile(
    config,
    JSON.stringify({
      version: 0.1,
      log: { level: 'warn', accesslog: { disabled: true } },
      storage: { filesystem: { rootdirectory: data }, delete: { enabled: true } },
      http: { addr: registryAddress },
    }),
  )
  // On the host's side: the address belongs to the machine, and image builds push to it.
  await startProgram({ name: 'registry', command: 'docker-registry', args: ['serve', config], logDir, network: 'host' })
  await waitFor({ what: 'the registry', timeoutMs: 30_000 }, async () => {
    const { statusCode, body } = await request(`http://${registryAddress}/v2/`)
    await body.dump()
    return statusCode === 200
  })
}
