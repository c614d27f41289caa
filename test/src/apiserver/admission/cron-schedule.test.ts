import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { isCronSchedule } from '../../../../src/apiserver/admission/cron-schedule.ts'

describe('a schedule in cron format', () => {
  const sound = [
    '* * * * *',
    '0 0 1 1 0',
    '*/15 0-6/2 1,15 jan-MAR mon-fri',
    '5/10 * ? * *',
    '  0  12 * * SUN ',
    '@daily',
    '@every 1h30m',
    '@every 1.5h',
  ]
  for (const text of sound) it(`may be ${JSON.stringify(text)}`, () => assert.ok(isCronSchedule(text)))

  const broken = [
    'x',
    '* * * *',
    '* * * * * *',
    '60 * * * *',
    '* 24 * * *',
    '* * 0 * *',
    '* * * 13 *',
    '* * * * 7',
    '*/0 * * * *',
    '5-1 * * * *',
    '1-2-3 * * * *',
    '1/2/3 * * * *',
    '-1 * * * *',
    '1, * * * *',
    'jan * * * *',
    '@often',
    '@every day',
    'TZ=UTC * * * * *',
  ]
  for (const text of broken) it(`must not be ${JSON.stringify(text)}`, () => assert.ok(!isCronSchedule(text)))

  it('is decided for any text', () => {
    fc.assert(fc.property(fc.string(), (text) => typeof isCronSchedule(text) === 'boolean'))
  })
})
