/** CRC-32C (Castagnoli), as VHDX headers carry it. Byte by byte: for headers of some KiB, not for data. */

const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte
  for (let bit = 0; bit < 8; bit++) value = (value & 1) === 0 ? value >>> 1 : (value >>> 1) ^ 0x82f63b78
  return value
})

/** The checksum of `bytes`, with the four bytes at `fieldAt` (the checksum's own place) taken as zero. */
export function crc32c(bytes: Buffer, fieldAt?: number): number {
  let crc = 0xffff_ffff
  for (const [index, byte] of bytes.entries()) {
    const own = fieldAt !== undefined && index >= fieldAt && index < fieldAt + 4
    crc = (crc >>> 8) ^ table[(crc ^ (own ? 0 : byte)) & 0xff]!
  }
  return ~crc >>> 0
}
