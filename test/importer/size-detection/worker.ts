/** The size detection's entry, as in its container, with a place of its own for its last words. */
import { main } from '../../../importer/size-detection/main.ts'

const [terminationLog = '', ...args] = process.argv.slice(2)
await main(args, { terminationLog })
