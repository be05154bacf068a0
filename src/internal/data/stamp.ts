/**
 * Private fields on objects that other code made: a note that only its class can read, found in the time of a property,
 * and gone with the object. A class that extends {@link Stamp} and is constructed with an object adds its private
 * fields to that object.
 *
 * For hot paths: a look-up in a WeakMap takes longer than reading a field, and a WeakMap of millions of objects is one
 * hash table, which stalls when it grows.
 */
function itself(this: object, object: object): object {
  return object;
}

/** Constructing throws TypeError where the host lets nothing be added to a frozen object, and this is one. */
export const Stamp: StampConstructor = itself as unknown as StampConstructor;

type StampConstructor = abstract new (object: object) => object;
