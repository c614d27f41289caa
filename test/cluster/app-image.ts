/**
 * The service's image, built from the Dockerfile by buildah without a daemon and without Docker Hub: on a root file
 * system made by mmdebstrap from this machine's Debian mirror. Base and production modules are kept in the cache by the
 * hash of their inputs; the image's tag is the hash of everything that goes in, so an unchanged tree builds nothing.
 */
import { createHash } from 'node:crypto'
import { cp, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { request } from 'undici'
import { cacheDir, checkout, registryName } from './layout.ts'
import { registryAddress } from './registry.ts'
import { say } from './say.ts'

const suite = 'trixie'
/** What of the checkout goes into the image. */
const inputs = ['package.json', 'package-lock.json', 'tsconfig.json', 'tsconfig.build.json', 'Dockerfile', '.npmrc']
const inputDirs = ['src', 'importer', 'uploadproxy', 'crds', 'test/cluster/image']

/** Builds and pushes the image unless the registry has it; returns the name under which pods pull it. */
export async function provideAppImage(): Promise<string> {
  const tag = await contentTag()
  const pulled = `${registryName}/cdi:${tag}`
  if (await registryHas('cdi', tag)) return pulled
  const local = `localhost/cdi:${tag}`
  if (!(await imageExists(local))) await build(local)
  say('pushing the image to the node’s registry')
  await buildah('push', '--tls-verify=false', '--disable-compression', local, `docker://${registryAddress}/cdi:${tag}`)
  return pulled
}

async function build(local: string): Promise<void> {
  const base = await provideBase()
  const modules = await productionModules()
  say('building the image')
  const dir = await mkdtemp(join(cacheDir(), 'building-image-'))
  try {
    const source = join(dir, 'src')
    for (const path of [...inputs, ...inputDirs]) {
      await cp(join(checkout, path), join(source, path), { recursive: true })
    }
    // Emits only: types are `npm run check`'s business, and an image is wanted while they are still being worked on.
    const types = join(checkout, 'node_modules/@types')
    await execa('tsc', ['-p', join(source, 'tsconfig.build.json'), '--noCheck', '--typeRoots', types], {
      preferLocal: true,
      localDir: checkout,
    })
    const args = [
      ...[`BASE=${base}`, `BUILD_BASE=${base}`].map((argument) => `--build-arg=${argument}`),
      // In place of the Dockerfile's stages: nothing is compiled or installed inside.
      ...[`build=${dir}`, `modules=${modules}`].map((context) => `--build-context=${context}`),
    ]
    await buildah('build', ...args, '--layers', '--pull-never', '--quiet', '--tag', local, source)
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
  await forgetOthers('localhost/cdi', local)
  // Steps of earlier builds that no image is made of any more.
  await buildah('rmi', '--prune').catch(() => undefined)
}

/** Debian with the packages of the Dockerfile, as an image in buildah's store. */
async function provideBase(): Promise<string> {
  const dockerfile = await readFile(join(checkout, 'Dockerfile'), 'utf8')
  const packages = /^ARG PACKAGES="(.*)"$/m.exec(dockerfile)?.[1]?.split(' ')
  if (packages === undefined) throw new Error('the Dockerfile has no ARG PACKAGES line')
  const hash = createHash('sha256')
    .update(JSON.stringify([suite, packages, excluded]))
    .digest('hex')
    .slice(0, 16)
  const name = `localhost/cdi-base:${hash}`
  if (await imageExists(name)) return name
  say(`building the base image (Debian ${suite}; a minute, once)`)
  await mkdir(cacheDir(), { recursive: true })
  const dir = await mkdtemp(join(cacheDir(), 'building-base-'))
  try {
    const archive = join(dir, 'root.tar')
    const options = [`--include=${packages.join(',')}`, ...excluded.map((path) => `--dpkgopt=path-exclude=${path}`)]
    await execa('mmdebstrap', ['--quiet', '--variant=essential', ...options, suite, archive, await debianMirror()])
    const container = (await buildah('from', 'scratch')).trim()
    try {
      await buildah('add', '--quiet', container, archive, '/')
      await buildah('config', '--env', 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin', container)
      await buildah('commit', '--quiet', container, name)
    } finally {
      await buildah('rm', container)
    }
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
  await forgetOthers('localhost/cdi-base', name)
  return name
}

/** What a container never reads. */
const excluded = ['man', 'doc', 'locale', 'info', 'bug', 'lintian'].map((dir) => `/usr/share/${dir}/*`)

/** The Debian mirror that this machine's apt uses. */
export async function debianMirror(): Promise<string> {
  const { stdout } = await execa('apt-get', [
    'indextargets',
    '--format',
    '$(REPO_URI) $(RELEASE)',
    'Created-By: Packages',
  ])
  const lines = stdout.split('\n').map((line) => line.split(' '))
  const own = lines.find(
    ([url = '', release = '']) => /^https?:/.test(url) && /\/debian\/?$/.test(url) && !release.includes('-'),
  )
  if (own?.[0] === undefined) throw new Error('apt has no Debian mirror: check /etc/apt and run apt-get update')
  return own[0]
}

/** A directory with `src/node_modules` (production, pruned) and `src/node`, made once for each lock file. */
async function productionModules(): Promise<string> {
  const prune = join(checkout, 'test/cluster/image/prune.sh')
  const hash = createHash('sha256')
  for (const file of [join(checkout, 'package-lock.json'), prune]) hash.update(await readFile(file))
  const dir = join(cacheDir(), `modules-${hash.digest('hex').slice(0, 16)}`)
  if (await stat(dir).catch(() => undefined)) return dir
  say('installing production modules')
  const building = await mkdtemp(join(cacheDir(), 'building-modules-'))
  try {
    const source = join(building, 'src')
    for (const file of ['package.json', 'package-lock.json', '.npmrc'])
      await cp(join(checkout, file), join(source, file))
    // Not `npm ci`: that refuses a lock file which lacks packages for platforms that the registry at hand does not carry.
    await execa('npm', ['install', '--no-save', '--omit=dev', '--loglevel=error'], { cwd: source })
    await execa('sh', [prune, source])
    await rename(building, dir)
  } finally {
    await rm(building, { recursive: true, force: true })
  }
  return dir
}

async function contentTag(): Promise<string> {
  const hash = createHash('sha256')
  const add = async (path: string): Promise<void> => {
    hash
      .update(path)
      .update('\0')
      .update(await readFile(join(checkout, path)))
  }
  for (const file of inputs) await add(file)
  for (const dir of inputDirs) {
    const entries = await readdir(join(checkout, dir), { recursive: true, withFileTypes: true })
    const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
    for (const file of files.sort()) await add(file.slice(checkout.length + 1))
  }
  return hash.digest('hex').slice(0, 16)
}

async function registryHas(repository: string, tag: string): Promise<boolean> {
  const { statusCode, body } = await request(`http://${registryAddress}/v2/${repository}/manifests/${tag}`, {
    method: 'HEAD',
    headers: { accept: 'application/vnd.oci.image.manifest.v1+json' },
  })
  await body.dump()
  return statusCode === 200
}

/** buildah with a store of its own, so that nobody else's images are in the way. */
async function buildah(command: string, ...args: string[]): Promise<string> {
  const store = join(cacheDir(), 'images')
  await mkdir(store, { recursive: true })
  const policy = join(store, 'policy.json')
  await writeFile(policy, JSON.stringify({ default: [{ type: 'insecureAcceptAnything' }] }))
  const where = ['--root', join(store, 'root'), '--runroot', join(store, 'run'), '--storage-driver', 'overlay']
  const needsPolicy = ['build', 'push', 'commit', 'from'].includes(command)
  const { stdout } = await execa(
    'buildah',
    [...where, command, ...(needsPolicy ? ['--signature-policy', policy] : []), ...args],
    { env: { BUILDAH_ISOLATION: 'chroot' } },
  )
  return stdout
}

async function imageExists(name: string): Promise<boolean> {
  return await buildah('inspect', '--type', 'image', '--format', '{{.FromImageID}}', name).then(
    () => true,
    () => false,
  )
}

/** Removes images of earlier contents, which nobody will ask for again. */
async function forgetOthers(repository: string, keep: string): Promise<void> {
  const names = await buildah(
    'images',
    '--noheading',
    '--format',
    '{{.Name}}:{{.Tag}}',
    '--filter',
    `reference=${repository}`,
  )
  for (const name of names.split('\n')) {
    if (name !== '' && name !== keep) await buildah('rmi', name).catch(() => undefined)
  }
}
