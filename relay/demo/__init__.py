"""`relay demo`: the whole thing on a throwaway Moodle database and a throwaway backend."""
