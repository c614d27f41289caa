import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { metricsUrl, parseProgress, ProgressReader } from '../../../../src/controllers/shared/progress.ts'
import { TestClock } from '../../../../src/kube/clock.ts'
import { silentLog } from '../../../../src/log.ts'
import { importerPod, prime } from '../fixtures.ts'
import type { Pod } from '../../../../src/api/kinds.ts'

const page = (uid: string, value: string): string =>
  `# HELP kubevirt_cdi_import_progress_total The import progress in percentage\n# TYPE kubevirt_cdi_import_progress_total counter\nkubevirt_cdi_import_progress_total{ownerUID="${uid}"} ${value}\n`

function pod(ip?: string): Pod {
  const made = importerPod(prime())
  made.spec!.containers[0]!.ports = [{ name: 'metrics', containerPort: 8443 }]
  if (ip) made.status!.podIP = ip
  return made
}

describe('progress of a worker', () => {
  it('is read for its owner only, of imports and clones', () => {
    assert.equal(parseProgress(page('uid-a', '12.345'), 'uid-a'), 12.345)
    assert.equal(parseProgress(page('uid-a', '7'), 'uid-a'), 7)
    assert.equal(parseProgress(page('uid-a', '7'), 'uid-b'), undefined)
    assert.equal(parseProgress(page('uid-a', '7').replaceAll('import', 'clone'), 'uid-a'), 7)
    assert.equal(parseProgress('', 'uid-a'), undefined)
  })

  it('is asked at the port named metrics, once the pod has an address', () => {
    assert.equal(metricsUrl(pod()), undefined)
    assert.equal(metricsUrl(pod('10.0.0.7')), 'https://10.0.0.7:8443/metrics')
    assert.equal(metricsUrl(pod('fd00::7')), 'https://[fd00::7]:8443/metrics')
  })

  it('brings a key up when it has changed, and never when the worker is silent', async () => {
    const clock = new TestClock()
    const answers: (string | Error)[] = [page('u', '1.5'), page('u', '1.5'), new Error('refused'), page('u', '9')]
    const asked: string[] = []
    const reader = new ProgressReader({
      clock,
      log: silentLog(),
      fetchPage: async (url) => {
        asked.push(url)
        const answer = answers.shift() ?? page('u', '9')
        if (answer instanceof Error) throw answer
        return answer
      },
    })
    const keys: string[] = []
    const unsubscribe = reader.subscribe(({ name }) => keys.push(name))
    const key = { namespace: 'vms', name: 'dv' }
    reader.follow(key, { pod: pod('10.0.0.7'), ownerUid: 'u' })
    await clock.advance(1_000)
    assert.equal(reader.percentOf(key), 1.5)
    reader.follow(key, { pod: pod('10.0.0.7'), ownerUid: 'u' })
    await clock.advance(10_000)
    assert.equal(reader.percentOf(key), 9)
    assert.deepEqual(keys, ['dv', 'dv'])
    const count = asked.length
    reader.follow(key, undefined)
    await clock.advance(10_000)
    assert.equal(asked.length, count, 'nobody is asked any longer')
    assert.equal(reader.percentOf(key), undefined)
    unsubscribe()
    assert.equal(clock.pending, 0)
  })
})
