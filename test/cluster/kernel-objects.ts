/**
 * What a cluster leaves in the kernel: cgroups with processes, mounts, loop devices, containerd's shims. Everything is
 * found by paths of ours, never by a program's name, so nothing of anybody else is touched.
 */
import { mkdir, readdir, readFile, realpath, rmdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { execa } from 'execa'
import { cgroupName, containerdSocket, runDir } from './layout.ts'
import { signal } from './processes.ts'

const cgroupMount = '/sys/fs/cgroup'

/** The pods' cgroup, made in every hierarchy (there is one with cgroup v2, about ten with v1). */
export async function makeCgroup(): Promise<void> {
  for (const root of await cgroupRoots()) {
    const dir = join(root, cgroupName)
    await mkdir(dir, { recursive: true })
    // A cpuset of v1 starts empty, and nothing can run in it until it is told where.
    for (const file of ['cpuset.cpus', 'cpuset.mems']) {
      const value = await readFile(join(root, file), 'utf8').catch(() => undefined)
      const own = await readFile(join(dir, file), 'utf8').catch(() => undefined)
      if (value !== undefined && own?.trim() === '') await writeFile(join(dir, file), value.trim())
    }
  }
}

/** Kills every process that ran in a pod and removes the cgroups. */
export async function removeCgroup(): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const pids = await podPids()
    const dirs = await podCgroups()
    if (dirs.length === 0) return
    for (const pid of pids) signal(pid, 'SIGKILL')
    // The deepest first: a cgroup with children cannot be removed.
    for (const dir of dirs.sort((a, b) => b.length - a.length)) await rmdir(dir).catch(() => undefined)
    await sleep(pids.length > 0 ? 100 : 20)
  }
  throw new Error(`cgroups remain: ${(await podCgroups()).join(' ')}`)
}

/** Processes of pods. */
export async function podPids(): Promise<number[]> {
  const pids = new Set<number>()
  for (const dir of await podCgroups()) {
    const text = await readFile(join(dir, 'cgroup.procs'), 'utf8').catch(() => '')
    for (const line of text.split('\n')) if (line !== '' && line !== '0') pids.add(Number(line))
  }
  return [...pids]
}

/** The cgroups of pods, the outermost first in each hierarchy. */
export async function podCgroups(): Promise<string[]> {
  const found: string[] = []
  const visit = async (dir: string): Promise<void> => {
    const entries = await readdir(dir, { withFileTypes: true }).catch(() => undefined)
    if (entries === undefined) return
    found.push(dir)
    for (const entry of entries) if (entry.isDirectory()) await visit(join(dir, entry.name))
  }
  for (const root of await cgroupRoots()) await visit(join(root, cgroupName))
  return found
}

async function cgroupRoots(): Promise<string[]> {
  const lines = (await readFile('/proc/self/mounts', 'utf8')).split('\n').map((line) => line.split(' '))
  const mounts = lines.filter(([, dir, type]) => type?.startsWith('cgroup') && dir?.startsWith(cgroupMount))
  return [...new Set(mounts.map(([, dir]) => dir ?? ''))]
}

/** The shims of containers started through our containerd; they outlive it. */
export async function shimPids(): Promise<number[]> {
  const pids: number[] = []
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    const words = (await readFile(`/proc/${entry}/cmdline`, 'utf8').catch(() => '')).split('\0')
    const address = words.indexOf('-address')
    if (words[0]?.endsWith('containerd-shim-runc-v2') && address > 0 && words[address + 1] === containerdSocket) {
      pids.push(Number(entry))
    }
  }
  return pids
}

/** The directories below which everything mounted is ours. */
function ourDirs(state: string): string[] {
  return [state, runDir]
}

/** Mount points of the cluster, the last made first. */
export async function ourMounts(state: string): Promise<string[]> {
  const text = await readFile('/proc/self/mountinfo', 'utf8')
  const points = text
    .split('\n')
    .map((line) =>
      (line.split(' ')[4] ?? '').replaceAll(/\\([0-7]{3})/g, (_, octal: string) =>
        String.fromCharCode(parseInt(octal, 8)),
      ),
    )
    .filter((point) => ourDirs(state).some((dir) => point.startsWith(`${dir}/`)))
  return points.reverse()
}

export async function unmountAll(state: string): Promise<void> {
  for (let attempt = 0; attempt < 50; attempt += 1) {
    const points = await ourMounts(state)
    if (points.length === 0) return
    for (const point of points) {
      // After a second of "busy" the mount is taken out of sight and freed by the kernel with its last user.
      await execa('umount', [...(attempt < 10 ? [] : ['--lazy']), point], { reject: false })
    }
    if ((await ourMounts(state)).length > 0) await sleep(100)
  }
  throw new Error(`still mounted: ${(await ourMounts(state)).join(' ')}`)
}

export interface LoopDevice {
  readonly name: string
  readonly 'back-file': string
  /** Inode of what is behind it. */
  readonly 'back-ino': number
  /** The device that the inode is on, as `major:minor`. */
  readonly 'back-maj:min': string
}

/**
 * Loop devices over the cluster's files, and loop devices over those, which the kubelet makes for block volumes. The
 * latter come first, and are known by the inode of the device below: once the path they were made from is unmounted,
 * the kernel calls their file `/`.
 */
export async function ourLoops(state: string): Promise<LoopDevice[]> {
  const columns = 'NAME,BACK-FILE,BACK-INO,BACK-MAJ:MIN'
  const { stdout } = await execa('losetup', ['--list', '--json', '--output', columns])
  if (stdout.trim() === '') return []
  const all = (JSON.parse(stdout) as { loopdevices: LoopDevice[] }).loopdevices
  const real = await Promise.all(ourDirs(state).map((dir) => realpath(dir).catch(() => dir)))
  const dirs = new Set([...ourDirs(state), ...real])
  const below = all.filter((loop) => [...dirs].some((dir) => loop['back-file']?.startsWith(`${dir}/`)))
  const nodes = await Promise.all(below.map(({ name }) => stat(name)))
  const above = all.filter(
    (loop) =>
      !below.includes(loop) &&
      nodes.some(({ ino, dev }) => ino === loop['back-ino'] && deviceName(dev) === loop['back-maj:min'].trim()),
  )
  return [...above, ...below]
}

/** `major:minor` of a device number as Linux packs it into 64 bits. */
function deviceName(dev: number): string {
  const number = BigInt(dev)
  const major = ((number >> 8n) & 0xfffn) | ((number >> 32n) & 0xfffff000n)
  const minor = (number & 0xffn) | ((number >> 12n) & 0xffffff00n)
  return `${major}:${minor}`
}

export async function detachLoops(state: string): Promise<void> {
  for (let attempt = 0; attempt < 50; attempt += 1) {
    const loops = await ourLoops(state)
    if (loops.length === 0) return
    for (const { name } of loops) await execa('losetup', ['--detach', name], { reject: false })
    await sleep(50)
  }
  throw new Error(`loop devices remain: ${(await ourLoops(state)).map(({ name }) => name).join(' ')}`)
}
