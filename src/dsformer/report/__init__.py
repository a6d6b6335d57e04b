"""Reports: the exact bytes and errors of a compression, and their presentation.

May import ``allocation``, ``recipe``, ``training`` and all packages below them. ``prediction`` computes the bytes of a
plan before anything is factorized. ``block_summary`` describes one fitted block and ``summary`` the whole compression;
the pipeline makes both and stores them in the artefact. ``inspection`` counts the same bytes in an artefact's files.
``page`` renders a summary as HTML with ``rows`` of scores and latencies, ``parts`` names the part of a transformer that
a block belongs to, and ``units`` formats numbers. Start reading at ``summary``.
"""
