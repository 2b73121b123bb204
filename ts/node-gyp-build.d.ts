declare module 'node-gyp-build' {
  const load: {
    /** Loads the addon: from build/Release in a checkout, from prebuilds/ in a package. */
    (directory: string): unknown;
    /** The file that it would load. */
    resolve(directory: string): string;
  };
  export default load;
}
