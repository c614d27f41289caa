/** `node test/cluster/main.ts up|down|status`: the embedded cluster by hand. */
import { down } from './down.ts'
import { status } from './status.ts'
import { up } from './up.ts'

const [command = ''] = process.argv.slice(2)
switch (command) {
  case 'up':
    await up()
    break
  case 'down':
    await down()
    break
  case 'status':
    if (!(await status())) process.exitCode = 1
    break
  default:
    process.stderr.write('usage: node test/cluster/main.ts up|down|status\n')
    process.exitCode = 2
}
