declare module 'node-gyp-build' {
  /** Loads the addon: from build/Release in a checkout, from prebuilds/ in a package. */
  export default function load(directory: string): unknown;
}
