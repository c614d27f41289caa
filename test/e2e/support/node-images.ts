/** Container disks as people make them, by buildah and from scratch, in the registry that the embedded cluster's node pulls from. */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { execa } from 'execa'
import { registryName } from '../../cluster/layout.ts'
import { registryAddress } from '../../cluster/registry.ts'
import { tempDir } from '../../fixtures/server-process.ts'

export interface NodeImage {
  /** Repository below `e2e/`. */
  readonly name: string
  /** The only files of the image; most have one. */
  readonly disks: readonly string[]
  /** `NAME=value` */
  readonly env?: readonly string[]
}

/**
 * Builds an image that holds nothing but `/disk/<file>` and pushes it; gives the name under which nodes pull it. The tag
 * is the digest of what is in it, so what runs before have pushed is found again and nothing piles up.
 */
export async function provideNodeImage({ name, disks, env = [] }: NodeImage): Promise<string> {
  await using store = await tempDir('buildah')
  const policy = join(store.path, 'policy.json')
  await mkdir(join(store.path, 'run'))
  await writeFile(policy, JSON.stringify({ default: [{ type: 'insecureAcceptAnything' }] }))
  const where = ['--root', join(store.path, 'root'), '--runroot', join(store.path, 'run'), '--storage-driver', 'vfs']
  const buildah = async (command: string, ...args: string[]): Promise<string> =>
    (await execa('buildah', [...where, command, ...args], { env: { BUILDAH_ISOLATION: 'chroot' } })).stdout
  const hash = createHash('sha256').update(env.join('\n'))
  for (const disk of disks) hash.update(await readFile(disk))
  const tag = hash.digest('hex').slice(0, 16)
  const image = `e2e/${name}:${tag}`
  const container = (await buildah('from', '--signature-policy', policy, 'scratch')).trim()
  await buildah('copy', '--quiet', '--chown', '107:107', container, ...disks, '/disk/')
  await buildah('config', ...env.flatMap((line) => ['--env', line]), container)
  const target = `docker://${registryAddress}/${image}`
  await buildah(
    'commit',
    '--quiet',
    '--tls-verify=false',
    '--timestamp=0',
    '--signature-policy',
    policy,
    container,
    target,
  )
  return `${registryName}/${image}`
}
