/** How the mock backend refuses. */

import type { AppError } from '../src/lib/api';

export function error(code: AppError['code'], message: string, detail = ''): AppError {
  return { code, message, detail };
}

export function refuse(code: AppError['code'], message: string): never {
  throw error(code, message);
}
