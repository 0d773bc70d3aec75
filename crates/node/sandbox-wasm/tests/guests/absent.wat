;; Imports what no platform has.
(component
  (import "mayfly:test/absent@1.2.3" (instance (export "gone" (func)))))
