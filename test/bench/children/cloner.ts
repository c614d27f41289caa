/** The cloner of the table of clones: the pod's own program, with other places than a pod has. */
import type * as Cloner from '../../../importer/cloner/main.ts'

const { BENCH_DIST = '', BENCH_PLACES = '' } = process.env
const { main } = (await import(`${BENCH_DIST}/importer/cloner/main.js`)) as typeof Cloner
await main([], JSON.parse(BENCH_PLACES) as Cloner.ClonerPlaces)
