import { mix } from "./hash.ts";

// The golden ratio in 32 bits: the states of a generator are multiples of it, so that all of them differ.
const STEP = 0x9e3779b9;

/** Random numbers from 0 up to 1 that a seed determines, a safe integer: the same on every host. */
export function randomFrom(seed: number): () => number {
  let state = mix(seed / 2 ** 32) ^ seed;
  return () => {
    state = (state + STEP) | 0;
    return mix(state) / 2 ** 32;
  };
}
