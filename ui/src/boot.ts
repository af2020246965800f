/**
 * What must be so before any other module runs.
 *
 * With no locale in the environment WebKit calls the language "C", which is no BCP 47 tag: `Intl` and the libraries that
 * ask it throw as they load. Import this first.
 */
if (!isLanguageTag(navigator.language)) {
  Object.defineProperty(navigator, 'language', { value: 'en-US', configurable: true });
  Object.defineProperty(navigator, 'languages', { value: ['en-US'], configurable: true });
}

function isLanguageTag(tag: string): boolean {
  try {
    return Intl.getCanonicalLocales(tag).length === 1;
  } catch {
    return false;
  }
}

export {};
