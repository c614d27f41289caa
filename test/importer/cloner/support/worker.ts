/** The cloner's entry, as in its container, with a place of its own for its last words. */
import { main } from '../../../../importer/cloner/main.ts'

const [terminationLog = '', metricsPort = '', ...args] = process.argv.slice(2)
await main(args, { terminationLog, metricsPort: Number(metricsPort) })
