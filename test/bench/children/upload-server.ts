/** The upload server of the table of uploads: the pod's own program, with other places than a pod has. */
import type * as Server from '../../../importer/upload/main.ts'

const { BENCH_DIST = '', BENCH_PLACES = '' } = process.env
const { main } = (await import(`${BENCH_DIST}/importer/upload/main.js`)) as typeof Server
await main([], JSON.parse(BENCH_PLACES) as Server.UploadServerPlaces)
