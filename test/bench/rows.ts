/** The table of shared measures: what is imported, the pipe that people would use otherwise, and the ratio to reach. */

export interface Row {
  readonly name: string
  readonly file: string
  /** Shell command line of the other side; `$URL`, `$OUT` and `$TMP` are set. */
  readonly pipe: string
  /** Wall time of ours over wall time of the pipe, at most. */
  readonly target: number
}

const nbdkit = (format: string): string =>
  `nbdkit -U - curl "$URL" --run 'qemu-img convert -f ${format} -O raw -m 16 -W "$uri" '"$OUT"`

export const rows: readonly Row[] = [
  { name: 'raw', file: 'disk.raw', pipe: 'curl -s "$URL" | dd of="$OUT" bs=1M conv=sparse', target: 0.45 },
  {
    name: 'raw.gz',
    file: 'disk.raw.gz',
    pipe: 'curl -s "$URL" | gunzip | dd of="$OUT" bs=1M conv=sparse',
    target: 0.15,
  },
  {
    name: 'raw.xz, blocks',
    file: 'disk.raw.xz',
    pipe: 'curl -s "$URL" | xz -dc -T2 | dd of="$OUT" bs=1M conv=sparse',
    target: 0.9,
  },
  {
    name: 'raw.zst',
    file: 'disk.raw.zst',
    pipe: 'curl -s "$URL" | zstd -dc | dd of="$OUT" bs=1M conv=sparse',
    target: 0.8,
  },
  { name: 'qcow2, zlib', file: 'zlib.qcow2', pipe: nbdkit('qcow2'), target: 1 },
  { name: 'qcow2, plain', file: 'plain.qcow2', pipe: nbdkit('qcow2'), target: 1 },
  { name: 'vmdk, stream', file: 'stream.vmdk', pipe: nbdkit('vmdk'), target: 0.6 },
  { name: 'vhdx', file: 'disk.vhdx', pipe: nbdkit('vhdx'), target: 1.2 },
  {
    name: 'qcow2.gz',
    file: 'plain.qcow2.gz',
    pipe: 'curl -s "$URL" | gunzip > "$TMP" && qemu-img convert -f qcow2 -O raw "$TMP" "$OUT" && rm "$TMP"',
    target: 0.7,
  },
]

/** Rows over a slow link: 20 ms of latency, 25 MB/s a connection; the bar is what four connections can carry. */
export const slowRows = [
  { name: 'raw', file: 'disk.raw' },
  { name: 'qcow2, zlib', file: 'zlib.qcow2' },
  { name: 'qcow2, plain', file: 'plain.qcow2' },
] as const
export const slowLink = { latencyMs: 20, connectionBytesPerSecond: 25e6, connections: 4, tolerance: 1.1 } as const
