//! The one test program: whole commands, the store and the migrations, on both engines.
