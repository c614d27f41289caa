/** A reporter for `node --test` that says nothing but the counts, as `PASSED FAILED SKIPPED`, for test/run.sh to add up. */
import type { TestEvent } from 'node:test/reporters'

export default async function* count(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  let passed = 0
  let failed = 0
  let skipped = 0
  for await (const { type, data } of events) {
    if (type === 'test:fail' && data.details.type !== 'suite') failed += 1
    if (type !== 'test:pass' || data.details.type === 'suite') continue
    if (data.skip === undefined && data.todo === undefined) passed += 1
    else skipped += 1
  }
  yield `${passed} ${failed} ${skipped}\n`
}
