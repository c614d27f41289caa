/**
 * A reporter for `node --test` that says nothing but the counts, as `PASSED FAILED SKIPPED`, for test/run.sh to add up,
 * and after them a line with the name of each file in which something failed.
 */
import { relative } from 'node:path'
import type { TestEvent } from 'node:test/reporters'

export default async function* count(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  let passed = 0
  let failed = 0
  let skipped = 0
  const failedFiles = new Set<string>()
  for await (const { type, data } of events) {
    if (type === 'test:fail') {
      if (data.details.type !== 'suite') failed += 1
      // A helper that calls `it` is told as the place of its tests; their suite is in the file that was run.
      if (data.file?.endsWith('.test.ts') === true) failedFiles.add(relative('', data.file))
    }
    if (type !== 'test:pass' || data.details.type === 'suite') continue
    if (data.skip === undefined && data.todo === undefined) passed += 1
    else skipped += 1
  }
  yield `${passed} ${failed} ${skipped}\n`
  for (const file of failedFiles) yield `${file}\n`
}
