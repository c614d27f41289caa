/** What of the embedded cluster runs, and where to look. */
import { join } from 'node:path'
import { kubeconfigPath, stateDir } from './layout.ts'
import { ourLoops, ourMounts } from './kernel-objects.ts'
import { networkExists } from './network.ts'
import { readOwner } from './ownership.ts'
import { runningPid } from './processes.ts'
import { clusterPrograms } from './up.ts'

/** Prints the state; true if everything runs. */
export async function status(state: string = stateDir()): Promise<boolean> {
  const owner = await readOwner()
  if (owner === undefined) {
    console.log('no cluster is up on this machine')
    return false
  }
  console.log(`owner       ${owner.state}${owner.state === state ? '' : ' (another checkout)'}, since ${owner.since}`)
  let whole = owner.state === state
  for (const name of clusterPrograms) {
    const pid = await runningPid(name)
    if (pid === undefined) whole = false
    console.log(`${name.padEnd(24)} ${pid === undefined ? 'not running' : `pid ${pid}`}`)
  }
  console.log(`network namespace        ${(await networkExists()) ? 'there' : 'missing'}`)
  console.log(
    `mounts, loop devices     ${(await ourMounts(owner.state)).length}, ${(await ourLoops(owner.state)).length}`,
  )
  console.log(`kubeconfig               ${kubeconfigPath(owner.state)}`)
  console.log(`logs                     ${join(owner.state, 'log')}`)
  return whole
}
