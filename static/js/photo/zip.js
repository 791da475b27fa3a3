// A ZIP file of files that are compressed already: stored, with CRC-32 and names in UTF-8.

const LOCAL = 0x04034b50;
const CENTRAL = 0x02014b50;
const END = 0x06054b50;
const VERSION = 20;
const UTF8 = 0x0800;
// 1 January 1980, the first day that a ZIP file knows: when a picture was made is nobody's business.
const DATE = 0x0021;
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? (byte >>> 1) ^ 0xedb88320 : byte >>> 1;
  return byte;
});

/** Add files one by one, then take the blob. */
export class Zip {
  #parts = [];
  #directory = [];
  #offset = 0;

  async add(name, blob) {
    const bytes = new TextEncoder().encode(name);
    const crc = crc32(new Uint8Array(await blob.arrayBuffer()));
    const shared = [[VERSION, 2], [UTF8, 2], [0, 2], [0, 2], [DATE, 2], [crc, 4], [blob.size, 4], [blob.size, 4], [bytes.length, 2], [0, 2]];
    this.#directory.push(pack([CENTRAL, 4], [VERSION, 2], ...shared, [0, 2], [0, 2], [0, 2], [0, 4], [this.#offset, 4]), bytes);
    const head = pack([LOCAL, 4], ...shared);
    this.#parts.push(head, bytes, blob);
    this.#offset += head.length + bytes.length + blob.size;
  }

  toBlob() {
    const count = this.#directory.length / 2;
    const size = this.#directory.reduce((sum, { length }) => sum + length, 0);
    const end = pack([END, 4], [0, 2], [0, 2], [count, 2], [count, 2], [size, 4], [this.#offset, 4], [0, 2]);
    return new Blob([...this.#parts, ...this.#directory, end], { type: "application/zip" });
  }
}

function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) crc = (crc >>> 8) ^ TABLE[(crc ^ byte) & 255];
  return ~crc >>> 0;
}

/** Write numbers with the least byte first, each given with its count of bytes. */
const pack = (...fields) =>
  Uint8Array.from(fields.flatMap(([value, size]) => Array.from({ length: size }, (_, at) => (value >>> (8 * at)) & 255)));
