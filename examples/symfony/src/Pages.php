<?php

namespace App;

use Symfony\Component\HttpFoundation\Response;
use Symfony\Component\HttpKernel\Exception\NotFoundHttpException;
use Twig\Environment;

/** Pages: with their parts as tags they are the same for everybody and may be kept by any cache. */
final class Pages
{
    private const CACHE_CONTROL = 'public, max-age=300';

    private Environment $twig;
    private Shop $shop;

    public function __construct(Environment $twig, Shop $shop)
    {
        $this->twig = $twig;
        $this->shop = $shop;
    }

    public function front(): Response
    {
        return $this->page('front.html.twig', ['books' => $this->shop->books()]);
    }

    public function book(string $id): Response
    {
        $book = $this->shop->book($id) ?? throw new NotFoundHttpException();

        return $this->page('book.html.twig', ['book' => $book]);
    }

    private function page(string $template, array $values): Response
    {
        return new Response($this->twig->render($template, $values), 200, ['Cache-Control' => self::CACHE_CONTROL]);
    }
}
