/** The upload server's entry, as in its container, with a place of its own instead of the container's paths. */
import { join } from 'node:path'
import { workerPaths } from '../../../../src/api/podenv.ts'
import { main } from '../../../../importer/upload/main.ts'

const [place = '', port = '', ...args] = process.argv.slice(2)
// `/scratch` becomes `PLACE/scratch`, and so on.
const paths = Object.fromEntries(Object.entries(workerPaths).map(([name, path]) => [name, join(place, path)]))
await main(args, {
  paths: paths as Record<keyof typeof workerPaths, string>,
  port: Number(port),
  host: '127.0.0.1',
})
