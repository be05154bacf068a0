/**
 * Copies of what a call is given. The host's `fetch` reads its arguments before it returns; a call that waits, or is
 * sent again, must send what they were then.
 */

type Given = NonNullable<RequestInit["headers"]>;
type GivenBody = NonNullable<RequestInit["body"]>;

/** A copy of headers, in the form that they have. */
export function copyOfHeaders(headers: Given): Given {
  const Type = typeNamed("Headers", headers) as typeof Headers | undefined;
  if (Type !== undefined) return new Type(headers); // Not a list of its entries: the host keeps how names are written.
  if (typeof headers !== "object" || headers === null) return headers; // For the host to refuse.
  if (!(Symbol.iterator in headers)) return { ...headers };
  return Array.from(headers as Iterable<unknown>, (entry) => (Array.isArray(entry) ? [...entry] : entry)) as [
    string,
    string,
  ][];
}

/** A copy of a body that may change; what cannot, a stream, and what is not known is returned as it is. */
export function copyOfBody(body: GivenBody): GivenBody {
  if (typeof body !== "object") return body;
  if (ArrayBuffer.isView(body)) {
    const { buffer, byteOffset: from, byteLength: n } = body;
    if (body instanceof DataView) return new DataView(buffer.slice(from, from + n));
    return Uint8Array.prototype.slice.call(body); // Of any typed array. A Buffer's own method does not copy.
  }
  if (typeNamed("ArrayBuffer", body) !== undefined) return (body as ArrayBuffer).slice(0);
  const Params = typeNamed("URLSearchParams", body) as typeof URLSearchParams | undefined;
  if (Params !== undefined) return new Params(body as URLSearchParams);
  const Form = typeNamed("FormData", body) as typeof FormData | undefined;
  if (Form === undefined) return body;
  const form = new Form();
  for (const [name, value] of body as FormData) form.append(name, value as string);
  return form;
}

/**
 * The web's type of this name that a value is of, without what a program derives from it; undefined if it is of another
 * type. It may be the type of another realm, or of a package such as undici, whose own functions take no other.
 */
function typeNamed(name: string, value: unknown): unknown {
  if (Object.prototype.toString.call(value) !== `[object ${name}]`) return undefined;
  let proto = Object.getPrototypeOf(value);
  while (proto !== null && !Object.hasOwn(proto, Symbol.toStringTag)) proto = Object.getPrototypeOf(proto);
  return proto?.constructor;
}
