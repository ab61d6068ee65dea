// @ts-check
/** Calls the token service through `/demo`, where the cookie of the page replaces a credential. */

/** An error response, with the problem document of the service. */
export class ServiceError extends Error {
  /** @param {any} problem */
  constructor(problem) {
    super(problem.detail ?? problem.title ?? 'The service returned an error.');
    this.name = 'ServiceError';
    this.problem = problem;
  }
}

/**
 * Sends one request and returns the JSON of the response, or null if it has no body.
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
    // After a restart of dev, the cookie is a different one; loading the page sets it.
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
      title: 'No response',
      detail: 'The service does not respond. Check that dev is still running.',
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
