import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { findCondition, setCondition } from '../../../src/kube/conditions.ts'

const first = '2026-01-01T00:00:00Z'
const later = '2026-01-01T00:01:00Z'

describe('setCondition', () => {
  const before = setCondition(
    setCondition(undefined, { type: 'Bound', status: 'False', reason: 'Pending', message: 'PVC dv Pending' }, first),
    { type: 'Ready', status: 'False' },
    first,
  )

  it('appends a new type and leaves out what is empty', () => {
    assert.deepEqual(before[1], { type: 'Ready', status: 'False', lastHeartbeatTime: first, lastTransitionTime: first })
  })

  it('returns the list itself when nothing new is said, so that nothing is written', () => {
    assert.equal(setCondition(before, { type: 'Ready', status: 'False', reason: '', message: '' }, later), before)
  })

  it('changes both times with the status, and keeps the order', () => {
    const after = setCondition(before, { type: 'Bound', status: 'True', reason: 'Bound' }, later)
    assert.deepEqual(
      after.map(({ type }) => type),
      ['Bound', 'Ready'],
    )
    assert.deepEqual(after[0], {
      type: 'Bound',
      status: 'True',
      reason: 'Bound',
      lastHeartbeatTime: later,
      lastTransitionTime: later,
    })
    assert.equal(findCondition(before, 'Bound')?.status, 'False')
  })

  it('changes only the heartbeat with reason or message', () => {
    const after = setCondition(before, { type: 'Bound', status: 'False', reason: 'Pending', message: 'still' }, later)
    assert.deepEqual([after[0]?.lastTransitionTime, after[0]?.lastHeartbeatTime], [first, later])
  })
})
