/** Loop devices, file systems and mounts, by the tools of util-linux, e2fsprogs and xfsprogs. */
import { readFile } from 'node:fs/promises'
import { execa } from 'execa'

/** The loop device over the file, attached now unless it was before. */
export async function attachLoop(file: string): Promise<string> {
  const attached = await loopOf(file)
  if (attached !== undefined) return attached
  return (await execa('losetup', ['--find', '--show', file])).stdout.trim()
}

export async function loopOf(file: string): Promise<string | undefined> {
  const { stdout } = await execa('losetup', ['--noheadings', '--output', 'NAME', '--associated', file])
  return stdout.trim().split('\n')[0] || undefined
}

export async function detachLoop(file: string): Promise<void> {
  for (let loop = await loopOf(file); loop !== undefined; loop = await loopOf(file)) {
    await execa('losetup', ['--detach', loop])
    // A device that somebody still has open goes away with the last close; it says so by keeping its name.
    if ((await loopOf(file)) === loop) throw new Error(`${loop} is still in use`)
  }
}

/** Writes what was written to the device, but not yet to the file behind it. */
export async function flushDevice(loop: string): Promise<void> {
  await execa('sync', [loop])
}

/** Tells the kernel that the file behind the device has grown. */
export async function refreshLoop(loop: string): Promise<void> {
  await execa('losetup', ['--set-capacity', loop])
}

/** What is on the device: `ext4`, `xfs`, or undefined for nothing known. */
export async function fileSystemOn(device: string): Promise<string | undefined> {
  const { stdout, exitCode, stderr } = await execa('blkid', ['-p', '-s', 'TYPE', '-o', 'value', device], {
    reject: false,
  })
  // 2: nothing recognised; anything else is a failure, and formatting then could destroy data.
  if (exitCode !== 0 && exitCode !== 2) throw new Error(`blkid ${device}: exit ${exitCode} ${stderr}`)
  return stdout.trim() || undefined
}

export async function makeFileSystem(type: 'ext4' | 'xfs', device: string): Promise<void> {
  if (type === 'xfs') await execa('mkfs.xfs', ['-q', '-K', '-m', 'reflink=1', device])
  // One inode for 64 KiB and no reserve for root: the volume holds one big file, and small volumes lose little.
  else await execa('mkfs.ext4', ['-q', '-F', '-m', '0', '-i', '65536', '-E', 'lazy_itable_init=1,nodiscard', device])
}

/** Lets the mounted file system fill its device; nothing happens if it does already. ext4 needs CAP_SYS_RESOURCE. */
export async function growMounted(type: string, device: string, mountPoint: string): Promise<void> {
  if (type === 'xfs') await execa('xfs_growfs', [mountPoint])
  else await execa('resize2fs', [device])
}

/** Lets an ext4 that is not mounted fill its device, after the check that resize2fs asks for. */
export async function growUnmounted(device: string): Promise<void> {
  const { exitCode, stdout } = await execa('e2fsck', ['-f', '-p', device], { reject: false })
  // 1: errors were corrected.
  if (exitCode !== 0 && exitCode !== 1) throw new Error(`e2fsck ${device}: exit ${exitCode} ${stdout}`)
  await execa('resize2fs', [device])
}

export async function mount(args: readonly string[]): Promise<void> {
  await execa('mount', args)
}

/** Unmounts everything that is stacked on the path. */
export async function unmount(path: string): Promise<void> {
  while (await isMounted(path)) await execa('umount', [path])
}

export async function isMounted(path: string): Promise<boolean> {
  const table = await readFile('/proc/self/mountinfo', 'utf8')
  const escaped = path.replaceAll(/[ \t\n\\]/g, (c) => `\\${c.charCodeAt(0).toString(8).padStart(3, '0')}`)
  return table.split('\n').some((line) => line.split(' ')[4] === escaped)
}

/** Where the device is mounted first, if anywhere. */
export async function mountPointOf(device: string): Promise<string | undefined> {
  const { stdout } = await execa(
    'findmnt',
    ['--noheadings', '--first-only', '--output', 'TARGET', '--source', device],
    {
      reject: false,
    },
  )
  return stdout.trim() || undefined
}

/** Runs the work while the file system stands still, so that a copy of the device is consistent. */
export async function frozen<T>(mountPoint: string | undefined, work: () => Promise<T>): Promise<T> {
  if (mountPoint === undefined) return await work()
  await execa('fsfreeze', ['--freeze', mountPoint])
  try {
    return await work()
  } finally {
    await execa('fsfreeze', ['--unfreeze', mountPoint])
  }
}
