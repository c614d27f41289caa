/**
 * The node's programs, compiled from modules pinned in `programs/` and kept in the cache under the hash of what they
 * are made from. The first build takes about ten minutes on two cores, later ones are a look-up.
 */
import { createHash } from 'node:crypto'
import { copyFile, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { cacheDir, checkout } from './layout.ts'
import { say } from './say.ts'

const kubernetesVersion = '1.34.4'
const [major, minor] = kubernetesVersion.split('.')
const stamped = ['k8s.io/component-base/version', 'k8s.io/client-go/pkg/version']
  .flatMap((where) => [
    `-X ${where}.gitVersion=v${kubernetesVersion}`,
    `-X ${where}.gitMajor=${major}`,
    `-X ${where}.gitMinor=${minor}`,
  ])
  .join(' ')

interface Build {
  /** The folder under `programs/` with go.mod and go.sum. */
  readonly module: string
  readonly packages: readonly string[]
  readonly ldflags?: string
  /** A module whose CRDs are kept beside the binaries. */
  readonly crdsOf?: string
}

const kube = (command: string): string => `k8s.io/kubernetes/cmd/${command}`
const builds = {
  kubernetes: {
    module: 'kubernetes',
    packages: [
      ...['kube-apiserver', 'kube-controller-manager', 'kube-scheduler', 'kubelet', 'kube-proxy'].map(kube),
      './cmd/etcd',
    ],
    ldflags: stamped,
  },
  kubectl: { module: 'kubernetes', packages: [kube('kubectl')], ldflags: stamped },
  coredns: { module: 'coredns', packages: ['.'] },
  pause: { module: 'pause', packages: ['.'] },
  'csi-provisioner': {
    module: 'csi-provisioner',
    packages: ['github.com/kubernetes-csi/external-provisioner/v5/cmd/csi-provisioner'],
  },
  'csi-snapshotter-resizer': {
    module: 'csi-snapshotter-resizer',
    packages: [
      'github.com/kubernetes-csi/external-snapshotter/v8/cmd/snapshot-controller',
      'github.com/kubernetes-csi/external-snapshotter/v8/cmd/csi-snapshotter',
      'github.com/kubernetes-csi/external-resizer/v2/cmd/csi-resizer',
    ],
    crdsOf: 'github.com/kubernetes-csi/external-snapshotter/client/v8',
  },
} as const satisfies Record<string, Build>

export type BuildName = keyof typeof builds

/** The directory with the built programs of that name, built now unless they were before. */
export async function builtPrograms(name: BuildName): Promise<string> {
  const build: Build = builds[name]
  const dir = join(cacheDir(), `${name}-${await hashOf(build)}`)
  if (await exists(dir)) return dir
  say(`building ${name} (once; minutes the first time on a machine)`)
  await mkdir(cacheDir(), { recursive: true })
  const building = await mkdtemp(join(cacheDir(), `building-${name}-`))
  try {
    const source = join(checkout, 'test/cluster/programs', build.module)
    const go = execa({
      cwd: source,
      env: { CGO_ENABLED: '0', GOFLAGS: '-mod=readonly -buildvcs=false' },
      stderr: ['pipe', 'inherit'],
    })
    const ldflags = `-s -w ${build.ldflags ?? ''}`.trim()
    await go('go', ['build', '-trimpath', '-ldflags', ldflags, '-o', `${building}/`, ...build.packages])
    if (build.crdsOf !== undefined) {
      const { stdout } = await go('go', ['list', '-m', '-f', '{{.Dir}}', build.crdsOf])
      const crds = join(stdout, 'config/crd')
      await mkdir(join(building, 'crds'))
      for (const file of await readdir(crds)) {
        if (file.startsWith('snapshot.')) await copyFile(join(crds, file), join(building, 'crds', file))
      }
    }
    await writeFile(join(building, 'built-from'), `${JSON.stringify(build, undefined, 2)}\n`)
    // Moved whole, so that an interrupted build is never taken for a finished one; another process may have been first.
    await rename(building, dir).catch(async (error: unknown) => {
      if (!(await exists(dir))) throw error
    })
  } finally {
    await rm(building, { recursive: true, force: true })
  }
  return dir
}

export function isBuildName(name: string): name is BuildName {
  return Object.hasOwn(builds, name)
}

/** Builds everything; returns name → directory. */
export async function allPrograms(): Promise<Record<BuildName, string>> {
  const dirs: Partial<Record<BuildName, string>> = {}
  // One after the other: the Go compiler takes all cores by itself.
  for (const name of Object.keys(builds) as BuildName[]) {
    if (name !== 'kubectl') dirs[name] = await builtPrograms(name)
  }
  return { ...(dirs as Record<BuildName, string>), kubectl: await kubectlDir() }
}

/** kubectl is taken from PATH where there is one, and built from the same module otherwise. */
export async function kubectlDir(): Promise<string> {
  for (const dir of (process.env['PATH'] ?? '').split(':')) {
    if (dir !== '' && (await exists(join(dir, 'kubectl')))) return dir
  }
  return await builtPrograms('kubectl')
}

async function hashOf(build: Build): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify(build))
  const dir = join(checkout, 'test/cluster/programs', build.module)
  const files = (await readdir(dir, { recursive: true })).filter((file) => /go\.(mod|sum)$|\.go$/.test(file)).sort()
  for (const file of files) hash.update(file).update(await readFile(join(dir, file)))
  return hash.digest('hex').slice(0, 16)
}

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  )
}
