// @ts-check
/** Calls the token service through `/demo`, where the page's cookie stands for a credential. */

/** A refusal, with the service's own problem document. */
export class ServiceError extends Error {
  /** @param {any} problem */
  constructor(problem) {
    super(problem.detail ?? problem.title ?? 'The service answered with an error.');
    this.name = 'ServiceError';
    this.problem = problem;
  }
}

/**
 * One exchange: the JSON of the answer, null where there is none.
 *
 * @param {string} method
 * @param {string} path Below `/demo`.
 * @param {object} [body]
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
export async function call(method, path, body, signal) {
  let response = await send(method, path, body, signal);
  if (response.status === 403) {
    // Since dev was started again, the cookie is another one; loading the page brings it.
    await fetch('/', { signal });
    response = await send(method, path, body, signal);
  }
  if (response.status === 204) return null;
  const text = await response.text();
  const json = parse(text);
  if (response.ok) return json;
  throw new ServiceError(json ?? { title: `HTTP ${response.status}`, status: response.status });
}

/**
 * @param {string} method
 * @param {string} path
 * @param {object | undefined} body
 * @param {AbortSignal | undefined} signal
 */
async function send(method, path, body, signal) {
  const headers = body ? { 'content-type': 'application/json' } : undefined;
  try {
    return await fetch(`/demo${path}`, { method, headers, body: body && JSON.stringify(body), signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ServiceError({
      title: 'No answer',
      detail: 'The service does not answer. Does dev still run?',
    });
  }
}

/** @param {string} text */
function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
