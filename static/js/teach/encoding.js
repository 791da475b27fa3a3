// Numbers as base64, as the API and lessons write them.

const bytesOf = (encoded) => Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));

/** Decode little-endian float32. */
export const decodeFloats = (encoded) => new Float32Array(bytesOf(encoded).buffer);

/** Decode bytes as numbers from 0 to 1. */
export const decodePixels = (encoded) => Float32Array.from(bytesOf(encoded), (value) => value / 255);

/** Encode arrays of float32, one after the other. */
export function encodeFloats(arrays) {
  const bytes = arrays.flatMap((array) => Array.from(new Uint8Array(array.buffer, array.byteOffset, array.byteLength), (byte) => String.fromCharCode(byte)));
  return btoa(bytes.join(""));
}
