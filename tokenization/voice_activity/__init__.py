"""Where somebody speaks: detectors behind one contract, and how what they find becomes utterances of bounded length."""
