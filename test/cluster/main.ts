/**
 * `node test/cluster/main.ts up|down|status|leftovers|build`: the embedded cluster by hand. With KUBECONFIG set to another
 * cluster, `up` and `down` leave everything as it is. `build NAME …` only compiles these of the node's programs.
 */
import { givenCluster } from './cluster-under-test.ts'
import { down, leftovers } from './down.ts'
import { explain } from './explain.ts'
import { builtPrograms, isBuildName } from './programs.ts'
import { say } from './say.ts'
import { status } from './status.ts'
import { up } from './up.ts'

const unlessGiven = async (work: () => Promise<unknown>): Promise<void> => {
  if ((await givenCluster()) === undefined) await work()
  else say(`the cluster of KUBECONFIG=${process.env['KUBECONFIG']} is used as it is`)
}

const [name = '', ...words] = process.argv.slice(2)

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
  build: async () => {
    for (const word of words) {
      if (!isBuildName(word)) throw new Error(`no such program: ${word}`)
      await builtPrograms(word)
    }
  },
}

const command = Object.hasOwn(commands, name) ? commands[name] : undefined
if (command === undefined) {
  process.stderr.write(`usage: node test/cluster/main.ts ${Object.keys(commands).join('|')}\n`)
  process.exitCode = 2
} else {
  await explain(command)
}
