/**
 * `node test/cluster/main.ts up|down|status|leftovers`: the embedded cluster by hand. With KUBECONFIG set to another
 * cluster, `up` and `down` leave everything as it is.
 */
import { givenCluster } from './cluster-under-test.ts'
import { down, leftovers } from './down.ts'
import { explain } from './explain.ts'
import { say } from './say.ts'
import { status } from './status.ts'
import { up } from './up.ts'

const unlessGiven = async (work: () => Promise<unknown>): Promise<void> => {
  if ((await givenCluster()) === undefined) await work()
  else say(`the cluster of KUBECONFIG=${process.env['KUBECONFIG']} is used as it is`)
}

const commands: Readonly<Record<string, () => Promise<unknown>>> = {
  up: () => unlessGiven(() => up()),
  down: () => unlessGiven(() => down()),
  status: async () => {
    if (!(await status())) process.exitCode = 1
  },
  leftovers: async () => {
    const found = await leftovers()
    for (const what of found) console.log(`left behind: ${what}`)
    if (found.length > 0) process.exitCode = 1
  },
}

const [name = ''] = process.argv.slice(2)
const command = Object.hasOwn(commands, name) ? commands[name] : undefined
if (command === undefined) {
  process.stderr.write(`usage: node test/cluster/main.ts ${Object.keys(commands).join('|')}\n`)
  process.exitCode = 2
} else {
  await explain(command)
}
